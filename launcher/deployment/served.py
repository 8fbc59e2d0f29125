"""What a deployment serves: an environment's folder or image tells its app, its name and its port."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launcher.deployment.programs import check_images, find_image
from launcher.deployment.spec import Deployment
from launcher.deployment.values import NAME
from launcher.errors import UsageError
from launcher.images import labels, sif
from launcher.images.paths import image_path
from launcher.images.project import find_project, Project

OUR_TITLE = "openenv-slurm server"


def resolve(deployment: Deployment, *, named: bool = True) -> Deployment:
    """The same deployment with what its folder or image tells and the user did not choose: unless `named`
    is false, also its name. Raises `UsageError`."""
    values: dict[str, Any] = {}
    if deployment.environment is not None:
        project = find_project(deployment.environment)
        values |= _of_project(deployment, project)
        if named and "name" not in deployment.model_fields_set:
            values |= _named(deployment, project)
    image = values.get("image", deployment.image)
    if image is not None:
        path = find_image(image, deployment.images)
        values["image"] = path
        if "app" not in deployment.model_fields_set:
            values["app"] = app_of(path)
    return deployment if not values else _updated(deployment, values)


def _of_project(deployment: Deployment, project: Project) -> dict[str, Any]:
    values: dict[str, Any] = {"environment": project.folder}
    if project.port is not None:
        values |= {"server_port": project.port, "envoy_port": project.port}
    if deployment.in_containers:
        values["image"] = deployment.image or _image(deployment, project)
    else:
        values["workdir"] = str(project.folder)
        if "app" not in deployment.model_fields_set:
            values["app"] = project.app
    chosen = deployment.model_fields_set - {"environment", "image"}
    return {key: value for key, value in values.items() if key not in chosen}


def _named(deployment: Deployment, project: Project) -> dict[str, Any]:
    """The files of the deployment stay in the current folder, where one of its name may be the
    environment's."""
    name = project.values.get("name")
    name = name if isinstance(name, str) and NAME.fullmatch(name) else project.folder.name
    return {"name": name, "dir": deployment.dir or Path()} if NAME.fullmatch(name) else {}


def _image(deployment: Deployment, project: Project) -> Path:
    path = image_path(project.name, deployment.images)
    if path.parent.is_dir() and not path.is_file():
        raise UsageError(
            f"there is no image of {project.folder} in {path.parent}; build it with: launcher build "
            f"{project.folder}, choose another with --image, or serve without containers with "
            "--runtime venv"
        )
    return path


def app_of(image: Path) -> str:
    """The app that an image was built to serve. Raises `UsageError`."""
    check_images([image])
    if not image.is_file():
        raise UsageError(
            f"{image} is not on this machine, so its app is not known; name it with --app "
            "MODULE:ATTRIBUTE"
        )
    found = sif.labels(image)
    if app := found.get(labels.APP):
        return app
    if found.get(labels.TITLE) == OUR_TITLE:
        return str(Deployment.model_fields["app"].default)
    raise UsageError(
        f"the image {image} does not say which app it serves; name it with --app MODULE:ATTRIBUTE"
    )


def _updated(deployment: Deployment, values: dict[str, Any]) -> Deployment:
    try:
        checked = Deployment(**{**deployment.model_dump(exclude_unset=True), **values})
    except ValidationError as failure:
        problem = failure.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"{values.get('environment')}: {where} {problem['msg'].removeprefix('Input ')}".strip()
        ) from None
    return checked.with_variables(deployment.variables)
