//go:build !windows

package directory

import "syscall"

// What the system says of a connection that is not there.
const (
	refusedThere = syscall.ECONNREFUSED
	noWayToHost  = syscall.EHOSTUNREACH
	noWayToNet   = syscall.ENETUNREACH
	hungUp       = syscall.ECONNRESET
)
