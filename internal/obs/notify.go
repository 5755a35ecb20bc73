package obs

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// statusEvery is how often the service manager is told how the program is.
const statusEvery = 10 * time.Second

// Notify tells the service manager that started this program (systemd, by the
// socket in NOTIFY_SOCKET; see sd_notify(3)) that it is up, from time to time how
// it is, and when ctx ends that it is stopping. Without a service manager that
// listens it only waits. It is up when it works, whether what it needs is there or
// not: that is what checks say, which never keep a machine from booting.
//
// If the manager has a watchdog, it is fed three times in its time, while alive
// returns nil. alive may block, which starves the watchdog like an error does, so
// let it take the locks that the work takes.
func Notify(ctx context.Context, alive func() error, log zerolog.Logger, checks ...Check) error {
	timeout, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("reading what the service manager says of its watchdog: %w", err)
	}
	if os.Getenv("NOTIFY_SOCKET") == "" {
		<-ctx.Done() // the checks cost connections, and nobody would hear of them
		return nil
	}
	// That the manager does not listen is its own fault, and no reason to stop.
	var outage Outage
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.WithLevel(outage.Level(zerolog.WarnLevel, err)).AnErr(Cause, err).Msg("telling the service manager")
			return
		}
		outage.Over()
	}
	tell(daemon.SdNotifyReady)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		often(ctx, statusEvery, func() { tell("STATUS=" + status(ctx, alive, checks)) })
	})
	if timeout > 0 { // beside the status, which may have to wait for the checks
		wg.Go(func() {
			often(ctx, timeout/3, func() {
				if err := alive(); err != nil {
					log.Error().AnErr(Cause, err).Msg("the work stands still, and the watchdog is not fed")
					return
				}
				tell(daemon.SdNotifyWatchdog)
			})
		})
	}
	<-ctx.Done()
	tell(daemon.SdNotifyStopping)
	return nil
}

// often calls f now and then every d, until ctx ends.
func often(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// status is a sentence of how the program is.
func status(ctx context.Context, alive func() error, checks []Check) string {
	if err := alive(); err != nil {
		return "Standing still: " + oneLine(err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var wrong []string
	for _, c := range checks {
		if err := c.Run(ctx); err != nil {
			wrong = append(wrong, c.Name+": "+oneLine(err))
		}
	}
	if len(wrong) == 0 {
		return "Working."
	}
	return "Working, but " + strings.Join(wrong, "; ")
}

// oneLine keeps an error's text from being read as another assignment.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
