cd /tmp; IMG=~/.local/share/openenv-slurm/images/server.sif
V="a,b \"c\" 'd' \$HOME \`id\` \\n x=1
second"
export APPTAINERENV_V="$V" APPTAINERENV_PATH=/mine APPTAINERENV_LD_LIBRARY_PATH=/ll APPTAINERENV_HOME=/nowhere APPTAINERENV_PREPEND_PATH=/pre
apptainer --quiet exec --cleanenv --contain $IMG /usr/bin/env -0 | tr '\0' '|' ; echo
unset APPTAINERENV_PATH APPTAINERENV_LD_LIBRARY_PATH APPTAINERENV_HOME APPTAINERENV_PREPEND_PATH
echo "--- pwd"; apptainer --quiet exec --cleanenv --contain $IMG sh -c 'pwd; echo $HOME; df -h / /tmp $HOME | cat; touch /x; id'
echo "--- bind of missing"; APPTAINER_BIND=/nonexist apptainer --quiet exec --cleanenv --contain $IMG true; echo $?
mkdir -p /tmp/data; echo hi > /tmp/data/f
echo "--- bind env"; APPTAINER_BIND=/tmp/data:/data:ro apptainer --quiet exec --cleanenv --contain $IMG sh -c 'cat /data/f; touch /data/x'
echo "--- bind env + flag"; APPTAINER_BIND=/tmp/data:/data:ro apptainer --quiet exec --cleanenv --contain --bind=/tmp/data:/other $IMG sh -c 'cat /data/f /other/f; touch /other/x'
echo "--- BINDPATH"; APPTAINER_BINDPATH=/tmp/data:/data:ro apptainer --quiet exec --cleanenv --contain --bind=/tmp/data:/other $IMG sh -c 'cat /data/f /other/f'
echo "--- overlay dir"; mkdir -p /tmp/scr/layer /tmp/scr/work; apptainer --quiet exec --cleanenv --contain --overlay /tmp/scr/layer --workdir /tmp/scr/work $IMG sh -c 'touch /x /tmp/y ~/z /opt/openenv/q; mkdir -p /newdir/a; df -h / /tmp ~ | cat; rm /etc/hostname; ls -la / | head -5'; find /tmp/scr | head -30; ls -lR /tmp/scr/layer/work; rm -rf /tmp/scr; echo rm $?
echo "--- wtmpfs"; apptainer --quiet exec --cleanenv --contain --writable-tmpfs $IMG sh -c 'touch /x; df -h / | cat'
echo "--- pwd opt";  apptainer --quiet exec --cleanenv --contain --pwd /opt/openenv $IMG pwd; apptainer --quiet exec --cleanenv --contain --pwd /opt/nope $IMG pwd
echo "--- pwd via env"; APPTAINER_PWD=/opt/openenv apptainer --quiet exec --cleanenv --contain $IMG pwd
echo "--- nv"; apptainer --quiet exec --cleanenv --contain --nv $IMG true; echo $?
echo "-- contain dev"; apptainer --quiet exec --cleanenv --contain $IMG ls /dev
