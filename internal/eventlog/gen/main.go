// Gen writes the object file that the linker puts into the consumer for Windows:
// the texts of its events, where the event viewer looks for them.
package main

import (
	"fmt"
	"os"

	"writeback/internal/eventlog"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FILE.syso")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], object(resources(messageTable(eventlog.Events()))), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}
