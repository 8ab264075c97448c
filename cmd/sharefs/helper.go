package main

import "strings"

// helperName is the name by which mount(8) calls this program for file systems of the type sharefs: a link in /sbin.
const helperName = "mount.sharefs"

// helperArgs makes a command line of ours of one that mount(8) gives its helpers, which is
//
//	mount.sharefs STORE DIR [-sfnv] [-N namespace] [-o options] [-t type.subtype]
//
// Not ok is a mount that is only pretended (-f).
func helperArgs(args []string) (ours []string, ok bool) {
	ours, ok = []string{"mount"}, true
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-t":
			i++ // the type is known
		case arg == "-o" || arg == "-N" || !strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "--"):
			ours = append(ours, arg)
		default:
			ok = ok && !strings.Contains(arg, "f")
			if rest := strings.Trim(arg, "-sfnv"); rest != "" {
				ours = append(ours, arg) // to be refused
			}
		}
	}
	return ours, ok
}
