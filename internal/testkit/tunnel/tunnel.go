// Package tunnel is an HTTP proxy for tests, as companies have at the way out:
// it makes tunnels for CONNECT, with Basic authentication or without, and does
// nothing else.
package tunnel

import (
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options say whom the proxy lets through, and where to.
type Options struct {
	User, Password string // asked for, unless both are empty

	// Routes is what servers are reached as, host:port each. What is not in it
	// is forbidden.
	Routes map[string]string
}

// A Proxy is a running proxy.
type Proxy struct {
	opts    Options
	server  *http.Server
	tunnels atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool // of tunnels, both ends
}

// Start starts a proxy on l, which it closes at its end.
func Start(l net.Listener, opts Options) *Proxy {
	p := &Proxy{opts: opts, conns: make(map[net.Conn]bool)}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go p.server.Serve(l)
	return p
}

// Tunnels is how many tunnels were made.
func (p *Proxy) Tunnels() int { return int(p.tunnels.Load()) }

// Close ends the proxy and cuts its tunnels.
func (p *Proxy) Close() {
	p.server.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.knows(r.Header.Get("Proxy-Authorization")) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	to, ok := p.opts.Routes[r.Host]
	if r.Method != http.MethodConnect || !ok {
		http.Error(w, "not from here", http.StatusForbidden)
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		http.Error(w, "nobody is there", http.StatusBadGateway)
		return
	}
	near, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		far.Close()
		return
	}
	if !p.keep(near, far) {
		return
	}
	p.tunnels.Add(1)
	io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	go p.copy(near, far)
	go p.copy(far, near)
}

// knows reports whether a header has the user and the password.
func (p *Proxy) knows(header string) bool {
	if p.opts.User == "" && p.opts.Password == "" {
		return true
	}
	user, password, ok := (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
	return ok && user == p.opts.User &&
		subtle.ConstantTimeCompare([]byte(password), []byte(p.opts.Password)) == 1
}

// keep notes the ends of a tunnel, or closes them if the proxy is closed.
func (p *Proxy) keep(ends ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range ends {
		if p.conns == nil {
			conn.Close()
			continue
		}
		p.conns[conn] = true
	}
	return p.conns != nil
}

// copy copies one direction, and then ends the tunnel.
func (p *Proxy) copy(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}
