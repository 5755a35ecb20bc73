package main

import "golang.org/x/sys/windows"

// refusedThere is what the system says where nothing listens. Package syscall has
// another number for it, which no call returns.
const refusedThere = windows.WSAECONNREFUSED
