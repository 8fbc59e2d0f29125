from launcher.cli.entry import program

program()
