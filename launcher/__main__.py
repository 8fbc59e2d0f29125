from launcher.cli import program

program()
