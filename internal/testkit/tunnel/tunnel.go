// Package tunnel is an HTTP proxy for tests, as companies have at the way out:
// it makes tunnels for CONNECT, with Basic authentication or without, and does
// nothing else.
package tunnel

import (
	"crypto/subtle"
	"io"
	"net"
	"net/http"
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
	ends    ends
}

// Start starts a proxy on l, which it closes at its end.
func Start(l net.Listener, opts Options) *Proxy {
	p := &Proxy{opts: opts}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go p.server.Serve(l)
	return p
}

// Tunnels is how many tunnels were made.
func (p *Proxy) Tunnels() int { return int(p.tunnels.Load()) }

// Close ends the proxy and cuts its tunnels.
func (p *Proxy) Close() {
	p.server.Close()
	p.ends.close()
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
	p.tunnels.Add(1)
	io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.ends.join(near, far)
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
