package directory

import "golang.org/x/sys/windows"

// What the system says of a connection that is not there. Package syscall has
// other numbers for these, which no call returns.
const (
	refusedThere = windows.WSAECONNREFUSED
	noWayToHost  = windows.WSAEHOSTUNREACH
	noWayToNet   = windows.WSAENETUNREACH
	hungUp       = windows.WSAECONNRESET
)
