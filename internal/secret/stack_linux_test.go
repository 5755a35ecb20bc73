package secret_test

import (
	"testing"
	"unsafe"

	"writeback/internal/secret"
)

// What a call has left on the stack is gone.
func TestOverwriteStack(t *testing.T) {
	secret.OverwriteStack() // so that the stack does not move between the looks
	if at := onStack(); there(t, []uintptr{at}) != 1 {
		t.Fatal("what a call leaves is not there to be found")
	}
	at := onStack()
	secret.OverwriteStack()
	if there(t, []uintptr{at}) != 0 {
		t.Error("it is still there")
	}
}

// onStack returns the address of a copy on the stack, which is not valid any more,
// and so deep that looking for it does not overwrite it.
//
//go:noinline
func onStack() uintptr {
	var above [16 << 10]byte
	touch(above[:])
	at := copyHere()
	touch(above[:])
	return at
}

//go:noinline
func touch([]byte) {}

//go:noinline
func copyHere() uintptr {
	var b [len(freed)]byte
	copy(b[:], freed)
	touch(b[:])
	return uintptr(unsafe.Pointer(&b[0]))
}
