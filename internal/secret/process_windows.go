package secret

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/windows"
)

// What Windows is told to leave out of its reports of crashes (werapi.h): the
// heap. Go's runtime has set the other already, to show no window.
const (
	reportNoHeap = 0x1
	reportNoUI   = 0x20
)

// ProtectProcess keeps this process's memory out of the reports that Windows makes
// of crashes, and collects garbage every few seconds. That what is freed is
// overwritten too is up to GODEBUG in the environment, with [Clobber], which only
// the service has.
func ProtectProcess() error {
	set := windows.NewLazySystemDLL("kernel32.dll").NewProc("WerSetFlags")
	if set.Find() == nil { // else a Windows without reports, such as Nano Server
		if result, _, _ := set.Call(reportNoHeap | reportNoUI); result != 0 {
			return fmt.Errorf("keeping memory out of reports of crashes: result %#x", result)
		}
	}
	go func() {
		for range time.Tick(collectEvery) {
			runtime.GC()
		}
	}()
	return nil
}
