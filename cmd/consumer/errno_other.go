//go:build !windows

package main

import "syscall"

// refusedThere is what the system says where nothing listens.
const refusedThere = syscall.ECONNREFUSED
