package secret

// OverwriteStack overwrites what calls that have returned left on the goroutine's
// stack, 64 KiB deep, which is more than any key is made with. Call it before such
// a call too: a stack that has to grow moves, and leaves what it held behind.
//
//go:noinline
func OverwriteStack() {
	var b [64 << 10]byte
	overwrite(b[:])
}

// overwrite is no part of its caller, so that the compiler cannot leave it out.
//
//go:noinline
func overwrite(b []byte) { clear(b) }
