package queue

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"writeback/internal/obs"
)

// A dialer makes the connections below TLS, and gives nats.go what it needs for
// TLS and for signing in from the files as they are at that moment. nats.go holds
// its lock whenever it calls.
type dialer struct {
	cfg  Config
	log  zerolog.Logger
	note func(error) // is told why a dial failed
	read func(Ends)  // is told when what is in the files ends

	nc     *atomic.Pointer[nats.Conn] // nil until Connect has it
	files  *files
	broken string // what was last logged of the files
}

func (d *dialer) Dial(network, server string) (net.Conn, error) {
	d.reload()
	conn, err := d.dial(network, server)
	if err != nil {
		d.note(err)
		return nil, err
	}
	return conn, nil
}

// reload reads the files again. With files that cannot be used the ones before
// them stay in use: a certificate and its key are replaced one after the other.
func (d *dialer) reload() {
	f, err := d.cfg.read()
	if err != nil {
		if d.broken != err.Error() {
			d.log.Error().AnErr(obs.Cause, err).Msg("a file of the broker's connection cannot be used; what it held before stays in use")
			d.broken = err.Error()
		}
		return
	}
	d.broken = ""
	if f.user != d.files.user {
		d.log.Warn().Msg("a new nkey is in use at the broker")
	}
	d.files.key.Wipe()
	d.files = f
	d.read(f.ends)
	if nc := d.nc.Load(); nc != nil {
		d.signIn(&nc.Opts)
	}
}

// signIn makes a connection use the user that is in the files.
func (d *dialer) signIn(o *nats.Options) {
	o.SignatureCB = d.sign
	if d.files.token == "" {
		o.Nkey, o.UserJWT = d.files.user, nil
		return
	}
	token := d.files.token
	o.Nkey, o.UserJWT = "", func() (string, error) { return token, nil }
}

// sign answers the broker's challenge.
func (d *dialer) sign(nonce []byte) ([]byte, error) { return d.files.key.Sign(nonce) }

func (d *dialer) roots() (*x509.CertPool, error) { return d.files.roots, nil }

// certificate is also sent to a server that says it would not accept it: it then
// says why.
func (d *dialer) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return &d.files.cert, nil
}

// dial connects to a server, through a proxy where there is one. What comes
// before the broker's first word may take connectTimeout.
func (d *dialer) dial(network, server string) (net.Conn, error) {
	proxy, err := d.cfg.proxyFor(server)
	if err != nil {
		return nil, err
	}
	// TCP keep-alive is on: it is the Dialer's default.
	tcp := net.Dialer{Deadline: time.Now().Add(connectTimeout)}
	var conn net.Conn
	if proxy == nil {
		conn, err = tcp.Dial(network, server)
	} else {
		conn, err = d.cfg.dialThrough(&tcp, proxy, server)
	}
	if err != nil {
		return nil, err
	}
	// nats.go sets its own, but for WebSocket only after TLS.
	return conn, conn.SetDeadline(tcp.Deadline)
}
