//go:build unix

package export

import (
	"os"
	"syscall"
)

// lock keeps f for this process, until it is closed. It does not wait.
func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
