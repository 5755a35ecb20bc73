package obs

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// manager is a service manager's end of the socket.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

// hear waits for a message.
func hear(t *testing.T, conn *net.UnixConn, wanted string) {
	t.Helper()
	for b := make([]byte, 4096); ; {
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("waiting for %q: %v", wanted, err)
		}
		if string(b[:n]) == wanted {
			return
		}
	}
}

func TestNotify(t *testing.T) {
	conn := manager(t)
	const watchdog = 30 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var broker, work atomic.Pointer[error]
	state := func(p *atomic.Pointer[error]) func(context.Context) error {
		return func(context.Context) error {
			if err := p.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	away, stuck := errors.New("not connected:\nREADY=0"), errors.New("no turn for 2m0s")
	broker.Store(&away)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Notify(ctx, func() error { return state(&work)(ctx) }, zerolog.Nop(), Check{Name: "broker", Run: state(&broker)})
	}()
	hear(t, conn, "READY=1") // although the broker is not there
	hear(t, conn, "STATUS=Working, but broker: not connected: READY=0")
	hear(t, conn, "WATCHDOG=1")
	hear(t, conn, "WATCHDOG=1")
	work.Store(&stuck)
	for { // what was on its way, and then silence
		conn.SetReadDeadline(time.Now().Add(10 * watchdog))
		if _, err := conn.Read(make([]byte, 4096)); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	work.Store(nil)
	hear(t, conn, "WATCHDOG=1")
	stop()
	hear(t, conn, "STOPPING=1")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestStatus(t *testing.T) {
	good := func(context.Context) error { return nil }
	bad := func(context.Context) error { return errors.New("no answer:\nREADY=0") }
	well := func() error { return nil }
	for want, got := range map[string]string{
		"Working.": status(t.Context(), well, []Check{{Name: "broker", Run: good}}),
		"Working, but broker: no answer: READY=0; clock: no answer: READY=0": status(t.Context(), well,
			[]Check{{Name: "broker", Run: bad}, {Name: "policy", Run: good}, {Name: "clock", Run: bad}}),
		"Standing still: no turn for 2m0s": status(t.Context(), func() error { return errors.New("no turn for 2m0s") }, nil),
	} {
		if got != want {
			t.Errorf("status = %q, want %q", got, want)
		}
	}
}

// Where nobody listens, nothing is checked either: that would cost connections.
func TestNotifyChecksForListeners(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		checked := 0
		check := Check{Name: "directory", Run: func(context.Context) error {
			checked++
			return nil
		}}
		if err := Notify(ctx, func() error { return nil }, zerolog.Nop(), check); err != nil || checked != 0 {
			t.Errorf("in an hour it was checked %d times, and then %v", checked, err)
		}
	})
}

// A manager that does not listen any more is not complained of all the time.
func TestNotifyComplainsOnce(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 9*time.Minute)
		defer stop()
		var log bytes.Buffer
		if err := Notify(ctx, func() error { return nil }, zerolog.New(&log).Level(zerolog.InfoLevel)); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "telling the service manager"); n != 1 {
			t.Errorf("the log has it %d times:\n%s", n, log.String())
		}
	})
}

// Nothing is said of a watchdog that is another process's, and nothing at all
// where nobody listens.
func TestNotifyWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, usec := range []string{"", "30000000"} {
		t.Setenv("WATCHDOG_USEC", usec)
		if err := Notify(ctx, func() error { return nil }, zerolog.Nop()); err != nil {
			t.Errorf("WATCHDOG_USEC=%q: %v", usec, err)
		}
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if err := Notify(ctx, func() error { return nil }, zerolog.Nop()); err == nil {
		t.Error("a watchdog that cannot be understood is no error")
	}
}
