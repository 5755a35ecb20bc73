package secret_test

import (
	"os"
	"os/exec"
	"testing"

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
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProtectProcess$", "-test.v")
	cmd.Env = append(os.Environ(), "WRITEBACK_TEST_PROTECT=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
