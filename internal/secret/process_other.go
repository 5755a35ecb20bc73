//go:build !linux && !windows

package secret

// ProtectProcess does nothing: this system has no such setting that a process
// can make for itself.
func ProtectProcess() error { return nil }
