package export

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"writeback/internal/testkit/pki"
	"writeback/internal/trail"
)

// A collector listens for syslog over TLS.
type collector struct {
	net.Listener
	cfg  SyslogConfig
	got  chan string // messages without their frames
	left chan error  // how each connection ended
}

func collect(t *testing.T, hangUpAfter int) *collector {
	t.Helper()
	ca, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Server("siem", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c := &collector{listener, SyslogConfig{Address: listener.Addr().String(), CAFile: ca.CAFile}, make(chan string, 10_000), make(chan error, 10)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				c.left <- c.read(conn, hangUpAfter)
			}()
		}
	}()
	return c
}

// read reads frames (RFC 5425, section 4.3.1).
func (c *collector) read(conn net.Conn, most int) error {
	in := bufio.NewReader(conn)
	for n := 0; n != most; n++ {
		size, err := in.ReadString(' ')
		if err != nil {
			return err
		}
		length, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil {
			return err
		}
		message := make([]byte, length)
		if _, err := io.ReadFull(in, message); err != nil {
			return err
		}
		c.got <- string(message)
	}
	return nil
}

// header is that of RFC 5424, section 6.2.
var header = regexp.MustCompile(`^<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [!-~]{1,255} writeback - [!-~]{1,32} - \{`)

func TestSyslog(t *testing.T) {
	reader, all := world(t, 20)
	c := collect(t, -1)
	state := filepath.Join(t.TempDir(), "syslog.state")
	send := func(stop int) {
		s, err := OpenSyslog(t.Context(), c.cfg, state)
		if err != nil {
			t.Fatal(err)
		}
		add(t, &Exporter{Reader: reader, Sink: s}, all, stop)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-c.left; err != io.EOF {
			t.Errorf("the collector's connection ends with %v", err)
		}
	}
	send(25)
	send(len(all))
	send(len(all)) // there is nothing left
	close(c.got)
	var sequences []string
	for m := range c.got {
		if !header.MatchString(m) || strings.HasPrefix(m, "<105>") {
			t.Errorf("the message is %.120q", m)
		}
		_, body, _ := strings.Cut(m, " - {")
		var d struct {
			Event struct {
				Dataset  string
				Sequence uint64
			}
		}
		if err := json.Unmarshal([]byte("{"+body), &d); err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, fmt.Sprint(d.Event.Dataset, d.Event.Sequence))
	}
	if len(sequences) != len(all) {
		t.Fatalf("%d messages have come, want %d", len(sequences), len(all))
	}
	for i, m := range all {
		if want := fmt.Sprint("writeback.", strings.ToLower(m.Stream), m.Seq); sequences[i] != want {
			t.Errorf("message %d is %s, want %s", i, sequences[i], want)
		}
	}
}

// What a collector may have lost is sent again: one that goes before we say
// good-bye may have read what it was sent, and done nothing with it.
func TestSyslogLost(t *testing.T) {
	for name, more := range map[string]bool{"while there is more to send": true, "when all was sent": false} {
		t.Run(name, func(t *testing.T) {
			reader, all := world(t, 5)
			c := collect(t, 4)
			state := filepath.Join(t.TempDir(), "syslog.state")
			s, err := OpenSyslog(t.Context(), c.cfg, state)
			if err != nil {
				t.Fatal(err)
			}
			x := &Exporter{Reader: reader, Sink: s}
			for _, m := range all[:4] {
				x.Add(m) // it hangs up meanwhile
			}
			<-s.gone
			if more && x.Add(all[4]) == nil {
				t.Error("what nobody reads is sent")
			}
			if s.Close() == nil {
				t.Error("who has hung up takes leave")
			}
			again, err := OpenSyslog(t.Context(), c.cfg, state)
			if err != nil {
				t.Fatal(err)
			}
			defer again.conn.Close()
			if again.At() != (trail.Position{}) {
				t.Errorf("it goes on after %+v, although nothing is known to have been received", again.At())
			}
		})
	}
}

func TestSyslogRefused(t *testing.T) {
	c, other := collect(t, -1), collect(t, -1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	state := filepath.Join(t.TempDir(), "syslog.state")
	stranger := c.cfg
	stranger.CAFile = other.cfg.CAFile
	for name, cfg := range map[string]SyslogConfig{
		"another authority": stranger, "no port": {Address: "siem", CAFile: c.cfg.CAFile}, "no authority": {Address: c.cfg.Address},
		"half a certificate": {Address: c.cfg.Address, CAFile: c.cfg.CAFile, CertFile: c.cfg.CAFile},
	} {
		if _, err := OpenSyslog(ctx, cfg, state); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
}
