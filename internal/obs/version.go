package obs

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// The linker sets these (-X) from what git says of the sources, and only it can:
// that is why they are variables. They are empty in a program that `go build`
// made by itself.
var (
	version string // git describe: a tag, or a commit
	commit  string // in full
)

// BuildVersion is this program's version, as logs, announcements and pages show
// it: the one that it was released as, else what the Go toolchain recorded.
func BuildVersion() string {
	recorded := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		recorded = info.Main.Version
	}
	return cmp.Or(version, recorded)
}

// BuildText says in one line what program this is.
func BuildText(program string) string {
	return fmt.Sprintf("%s %s (commit %s, %s, %s/%s)", program, BuildVersion(), buildCommit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildCommit is the commit that this program was made from, with "+dirty" if its
// sources were changed since.
func buildCommit() string {
	recorded := make(map[string]string)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			recorded[s.Key] = s.Value
		}
	}
	revision := recorded["vcs.revision"]
	if revision != "" && recorded["vcs.modified"] == "true" {
		revision += "+dirty"
	}
	return cmp.Or(commit, revision, "unknown")
}
