// Audit replays, verifies and exports what a tenant's streams hold. It reads and
// writes nothing at the broker, and believes pinned keys only.
package main

import "writeback/internal/cli"

func main() {
	cli.Main("audit", "replays, verifies and exports what happened", []cli.Command{
		{Name: "replay", About: "prints records and events, of one request, account, caller, code ... or all", Run: replay},
		{Name: "verify", About: "says whether everything is there as it was written, and what it covered", Run: verify},
		{Name: "head", About: "prints how far the streams have come, to be kept elsewhere for `verify -head`", Run: head},
		{Name: "reconcile", About: "lists requests without an outcome, outcomes without a request, and what nobody found out", Run: reconcile},
		{Name: "export", About: "hands everything to a SIEM, or keeps it as a file that can be verified", Run: exportTrail},
		{Name: "report", About: "makes one HTML page of a period", Run: makeReport},
	})
}
