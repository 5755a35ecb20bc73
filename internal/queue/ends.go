package queue

import (
	"crypto/tls"
	"time"

	"writeback/internal/obs"
)

// Ends says when what a connection needs ends; zero is never, or not known.
type Ends struct {
	Broker time.Time // the certificate that the broker presented last
	Client time.Time // our own, for a broker that asks for one
	User   time.Time // what an operator signed for our user
}

// Ends returns them for the files as they were read last.
func (c *Conn) Ends() Ends {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends
}

func (c *Conn) noteFiles(e Ends) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends.Client, c.ends.User = e.Client, e.User
}

// notePeer is VerifyConnection of a [tls.Config]: it is called once a certificate
// has been verified.
func (c *Conn) notePeer(s tls.ConnectionState) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends.Broker = obs.ChainEnd(s.PeerCertificates)
	return nil
}
