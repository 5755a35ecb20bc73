package directory

import "time"

// CertificateEnd returns when the first of the certificates ends that the domain
// controllers presented last; zero if none was seen.
func (c *Client) CertificateEnd() (first time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.controllers {
		if !d.ends.IsZero() && (first.IsZero() || d.ends.Before(first)) {
			first = d.ends
		}
	}
	return first
}

// Skew returns by how much our clock was ahead of a domain controller's when one
// was last looked at, to about half a second; known is false if none was.
func (c *Client) Skew() (ahead time.Duration, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clock == nil {
		return 0, false
	}
	return -*c.clock, true
}

// noteClock takes note of by how much a domain controller's clock is ahead of ours.
func (c *Client) noteClock(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = &ahead
}
