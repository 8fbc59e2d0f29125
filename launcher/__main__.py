from launcher.entry import program

program()
