package export

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	"writeback/internal/config"
	"writeback/internal/trail"
)

// A SyslogConfig says where a collector listens for syslog over TLS (RFC 5425).
type SyslogConfig struct {
	Address  string `yaml:"address"`   // host:port; the port is usually 6514
	CAFile   string `yaml:"ca_file"`   // PEM; the collector's certificate is verified against it, and against nothing else
	CertFile string `yaml:"cert_file"` // PEM; our own certificate, for a collector that asks for one
	KeyFile  string `yaml:"key_file"`  // PEM; the key of cert_file
}

// Load checks the configuration and reads its files.
func (c SyslogConfig) Load() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		return nil, fmt.Errorf("address: %q must have the form host:port", c.Address)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if cfg.RootCAs, err = config.Authorities(c.CAFile); err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if c.CertFile == "" && c.KeyFile == "" {
		return cfg, nil
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file and key_file: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// Times of a connection to a collector.
const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	// settled is how long a connection must live on for what was written to
	// count as received: syslog has no acknowledgements.
	settled = 5 * time.Second
)

// A Syslog sends lines to a collector. A line is sent at least once: what a
// connection that broke may have lost is sent again after the next
// [OpenSyslog], and is known again by its stream and sequence.
type Syslog struct {
	conn  *tls.Conn
	state string // the file with the position
	host  string
	gone  chan struct{} // closed when the connection is at its end
	end   error         // then: how it ended; nil if the collector has closed it

	at      trail.Position // written last
	safe    trail.Position // received, as far as anybody can know
	pending []mark         // a few positions after safe, oldest first
}

// A mark is a position, and when it was written.
type mark struct {
	at      trail.Position
	written time.Time
}

// OpenSyslog connects to a collector. The file state keeps how far it has come.
func OpenSyslog(ctx context.Context, cfg SyslogConfig, state string) (*Syslog, error) {
	tlsConfig, err := cfg.Load()
	if err != nil {
		return nil, err
	}
	s := &Syslog{state: state, gone: make(chan struct{})}
	text, err := os.ReadFile(state)
	if err == nil {
		err = json.Unmarshal(text, &s.safe)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", state, err)
	}
	s.at = s.safe
	if s.host, err = os.Hostname(); err != nil || s.host == "" {
		s.host = "-"
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&tls.Dialer{Config: tlsConfig}).DialContext(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the collector: %w", err)
	}
	s.conn = conn.(*tls.Conn)
	go func() {
		defer close(s.gone)
		_, s.end = io.Copy(io.Discard, s.conn) // a collector says nothing until it goes
	}()
	return s, nil
}

// At is the position up to which lines count as received.
func (s *Syslog) At() trail.Position { return s.safe }

// Facility 13 is "log audit" (RFC 5424, section 6.2.1).
const (
	facility = 13
	alert    = 1
	info     = 6
)

// Write sends a line.
func (s *Syslog) Write(line []byte, e trail.Entry, at trail.Position) error {
	severity := info
	if !e.Signed {
		severity = alert
	}
	// No structured data: that needs a number of our own. The rest is JSON.
	text := fmt.Appendf(nil, "<%d>1 %s %s writeback - %s - ", facility*8+severity, e.At().UTC().Format("2006-01-02T15:04:05.000000Z07:00"), s.host, e.Kind)
	text = append(text, line[:len(line)-1]...)
	framed := append(strconv.AppendInt(nil, int64(len(text)), 10), ' ')
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.conn.Write(append(framed, text...)); err != nil {
		return fmt.Errorf("sending to the collector: %w", err)
	}
	s.at = at
	return s.settle(false)
}

// hungUp returns an error if the collector has gone, perhaps without having read
// what it was sent.
func (s *Syslog) hungUp() error {
	select {
	case <-s.gone:
		return errors.New("sending to the collector: it has closed the connection")
	default:
		return nil
	}
}

// settle moves safe over what was written long enough ago, about once a second or
// when it is told to.
func (s *Syslog) settle(now bool) error {
	if err := s.hungUp(); err != nil {
		return err
	}
	if n := len(s.pending); n == 0 || now || time.Since(s.pending[n-1].written) > time.Second {
		s.pending = append(s.pending, mark{s.at, time.Now()})
	}
	moved := false
	for len(s.pending) > 0 && time.Since(s.pending[0].written) > settled {
		s.safe, s.pending, moved = s.pending[0].at, s.pending[1:], true
	}
	if !moved {
		return nil
	}
	return s.save()
}

// Sync notes what counts as received by now.
func (s *Syslog) Sync() error { return s.settle(true) }

func (s *Syslog) save() error {
	text, err := json.Marshal(s.safe)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.state+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(s.state+".new", s.state)
}

// Close says good-bye. A collector that closes the connection only then has read
// everything; some do so without an answer in TLS.
func (s *Syslog) Close() error {
	defer s.conn.Close()
	if err := s.hungUp(); err != nil {
		return err
	}
	if err := s.conn.CloseWrite(); err != nil {
		return err
	}
	select {
	case <-s.gone:
		if s.end != nil && !errors.Is(s.end, io.ErrUnexpectedEOF) {
			return fmt.Errorf("sending to the collector: %w", s.end)
		}
		s.safe = s.at
		return s.save()
	case <-time.After(settled):
		return nil
	}
}
