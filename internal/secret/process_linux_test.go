package secret_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"writeback/internal/secret"
)

// The settings last as long as the process, so a child makes them.
func TestProtectProcess(t *testing.T) {
	if os.Getenv("WRITEBACK_TEST_PROTECT") != "" {
		if err := secret.ProtectProcess(); err != nil {
			t.Fatal(err)
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil || dumpable != 0 {
			t.Errorf("dumpable is %d, %v", dumpable, err)
		}
		var core unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
			t.Errorf("the limit of core dumps is %+v, %v", core, err)
		}
		if got, want := os.Getenv("GODEBUG"), os.Getenv("WRITEBACK_TEST_PROTECT"); got != want {
			t.Errorf("GODEBUG is %q, want %q", got, want)
		}
		return
	}
	for before, after := range map[string]string{
		"":                             "clobberfree=1",
		"madvdontneed=1":               "madvdontneed=1,clobberfree=1",
		"clobberfree=1":                "clobberfree=1",
		"clobberfree=1,madvdontneed=1": "clobberfree=1,madvdontneed=1,clobberfree=1",
		"clobberfree=0":                "clobberfree=0,clobberfree=1",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProtectProcess$", "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG="+before, "WRITEBACK_TEST_PROTECT="+after)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("with GODEBUG=%s: %v\n%s", before, err, out)
		}
	}
}

// What nobody has any more is overwritten, which it is not without the setting.
func TestFreedIsOverwritten(t *testing.T) {
	if os.Getenv("WRITEBACK_TEST_FREED") != "" {
		if os.Getenv("WRITEBACK_TEST_FREED") == "protected" {
			if err := secret.ProtectProcess(); err != nil {
				t.Fatal(err)
			}
		}
		addresses := leave(1000)
		runtime.GC()
		switch n := there(t, addresses); {
		case n > 900:
			os.Stdout.WriteString("THERE\n")
		case n < 10: // some may be seen from a stack
			os.Stdout.WriteString("GONE\n")
		}
		return
	}
	for how, want := range map[string]string{"protected": "GONE", "plain": "THERE"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFreedIsOverwritten$")
		cmd.Env = append(os.Environ(), "GODEBUG=", "WRITEBACK_TEST_FREED="+how)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), want+"\n") {
			t.Errorf("%s: %v, want that it is %s:\n%s", how, err, want, out)
		}
	}
}

const freed = "c4nary that is freed"

// onHeap returns a copy that is not on a stack.
//
//go:noinline
func onHeap() []byte { return []byte(freed) }

// leave leaves copies to the collector, and returns where they are.
func leave(copies int) (addresses []uintptr) {
	for range copies {
		b := onHeap()
		addresses = append(addresses, uintptr(unsafe.Pointer(&b[0])))
	}
	return addresses
}

// there counts the addresses at which a copy still is.
func there(t *testing.T, addresses []uintptr) (n int) {
	t.Helper()
	b := make([]byte, len(freed))
	for _, a := range addresses {
		local, remote := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: a, Len: len(b)}}
		if _, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0); err != nil {
			t.Fatal(err)
		}
		if string(b) == freed {
			n++
		}
	}
	return n
}
