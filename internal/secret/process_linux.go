package secret

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ProtectProcess keeps this process's memory out of core dumps and away from
// debuggers that do not run as root, and has what libraries copied of secrets
// overwritten a few seconds after they let go of it. For that it executes the
// program once more in this process, with [Clobber]: call it before all else.
func ProtectProcess() error {
	if debug := os.Getenv("GODEBUG"); !strings.HasSuffix(debug, Clobber) {
		return again(strings.TrimPrefix(debug+","+Clobber, ","))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the process undumpable: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	go func() {
		for range time.Tick(collectEvery) {
			runtime.GC()
		}
	}()
	return nil
}

// again executes the program with GODEBUG set to debug. It returns only if that
// cannot be done.
func again(debug string) error {
	path, err := os.Executable()
	if err == nil {
		err = os.Setenv("GODEBUG", debug)
	}
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ())
	}
	return fmt.Errorf("executing the program with GODEBUG=%s: %w", debug, err)
}
