// The command line: finds the verb and hands over to its file.
process.stderr.write('weft: no commands yet\n')
process.exit(2)
