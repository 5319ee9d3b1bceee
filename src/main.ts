process.stdout.write("fireteact\n");
