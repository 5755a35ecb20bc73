package queue

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
)

// A ProxyError says why a proxy did not lead to the broker. It names the proxy
// and the user at most.
type ProxyError struct {
	Proxy  string // host:port
	Status int    // of its answer; 0 if it gave none
	Err    error
}

func (e *ProxyError) Error() string { return "proxy " + e.Proxy + ": " + e.Err.Error() }

func (e *ProxyError) Unwrap() error { return e.Err }

// maxProxyAnswer is far above the status line and the headers of an answer.
const maxProxyAnswer = 16 << 10

// dialThrough connects to a server through a proxy (RFC 9110, section 9.3.6).
// The name is looked up by the proxy: behind a firewall nobody else may know it.
func (c Config) dialThrough(tcp *net.Dialer, proxy *url.URL, server string) (net.Conn, error) {
	conn, err := tcp.Dial("tcp", proxy.Host)
	if err != nil {
		return nil, &ProxyError{Proxy: proxy.Host, Err: fmt.Errorf("connecting: %w", err)}
	}
	conn.SetDeadline(tcp.Deadline)
	status, err := c.ask(conn, proxy, server)
	if err != nil {
		conn.Close()
		return nil, &ProxyError{Proxy: proxy.Host, Status: status, Err: err}
	}
	return conn, nil
}

// ask asks the proxy for a tunnel, and returns the status of its answer.
func (c Config) ask(conn net.Conn, proxy *url.URL, server string) (int, error) {
	request := fmt.Appendf(nil, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", server, server)
	user := proxy.User.Username()
	if user != "" {
		password, err := readPassword(c.ProxyPasswordFile)
		if err != nil {
			return 0, fmt.Errorf("broker.proxy_password_file: %w", err)
		}
		pair := append([]byte(user+":"), password...)
		request = slices.Grow(request, 64+base64.StdEncoding.EncodedLen(len(pair))) // so that no copy stays behind
		request = append(request, "Proxy-Authorization: Basic "...)
		request = base64.StdEncoding.AppendEncode(request, pair)
		request = append(request, "\r\n"...)
		clear(password)
		clear(pair)
	}
	request = append(request, "\r\n"...)
	_, err := conn.Write(request)
	clear(request)
	if err != nil {
		return 0, fmt.Errorf("asking for %s: %w", server, err)
	}
	answer := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	resp, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return 0, fmt.Errorf("gives no answer within %s", connectTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, errors.New("closes the connection instead of an answer")
	case err != nil: // what it says is not repeated
		return 0, errors.New("gives no answer that is HTTP")
	}
	resp.Body.Close()
	return resp.StatusCode, tunnelled(resp.StatusCode, user, server, answer.Buffered())
}

// tunnelled says in words what an answer means; nil is a tunnel.
func tunnelled(status int, user, server string, more int) error {
	switch {
	case status == http.StatusProxyAuthRequired && user == "":
		return errors.New("wants a user and a password (407): set broker.proxy to http://user@host:port, and broker.proxy_password_file")
	case status == http.StatusProxyAuthRequired:
		return fmt.Errorf("does not accept user %q with the password in broker.proxy_password_file (407)", user)
	case status == http.StatusForbidden:
		return fmt.Errorf("does not let us through to %s (403): it must allow CONNECT to it", server)
	case status/100 != 2:
		return fmt.Errorf("does not lead to %s: it answers %d", server, status)
	case more > 0: // in TLS the server does not speak first
		return fmt.Errorf("does not lead to %s: something else than it answers", server)
	}
	return nil
}
