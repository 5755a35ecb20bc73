//go:build !linux

package directory

import "syscall"

// setUserTimeout does nothing where TCP has no such option. The connection is
// then only dropped by our own timers.
func setUserTimeout(_, _ string, _ syscall.RawConn) error { return nil }
