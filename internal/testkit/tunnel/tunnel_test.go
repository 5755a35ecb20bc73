package tunnel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// echo is a server that says what it hears.
func echo(t *testing.T) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// wantEcho checks that conn leads to the echo, and that end ends it.
func wantEcho(t *testing.T, conn net.Conn, r *bufio.Reader, end func()) {
	t.Helper()
	fmt.Fprintln(conn, "hello")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Errorf("heard %q, %v", line, err)
	}
	end()
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("it lives on")
	}
}

func TestProxy(t *testing.T) {
	to := echo(t)
	routes := map[string]string{"echo.example.com:7": to, "nobody.example.com:7": "127.0.0.1:1"}
	for _, tt := range []struct {
		name, user, request string
		want                int
	}{
		{"a tunnel", "", "CONNECT echo.example.com:7", 200},
		{"a place that is forbidden", "", "CONNECT other.example.com:7", 403},
		{"no tunnel", "", "GET http://echo.example.com:7/", 403},
		{"nobody there", "", "CONNECT nobody.example.com:7", 502},
		{"no password", "ada", "CONNECT echo.example.com:7", 407},
		{"another password", "ada", "CONNECT echo.example.com:7 YWRhOm90aGVy", 407},
		{"the password", "ada", "CONNECT echo.example.com:7 YWRhOnB3", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := Options{User: tt.user, Routes: routes}
			if tt.user != "" {
				opts.Password = "pw"
			}
			l := listen(t)
			p := Start(l, opts)
			defer p.Close()
			conn := dial(t, l.Addr().String())
			words := strings.Fields(tt.request)
			fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: proxy\r\n", words[0], words[1])
			if len(words) == 3 {
				fmt.Fprintf(conn, "Proxy-Authorization: Basic %s\r\n", words[2])
			}
			fmt.Fprint(conn, "\r\n")
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, &http.Request{Method: words[0]})
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Fatalf("got %d, want %d", resp.StatusCode, tt.want)
			}
			if tt.want == 200 {
				wantEcho(t, conn, r, p.Close)
			}
			if n := p.Tunnels(); (n == 1) != (tt.want == 200) {
				t.Errorf("%d tunnels after %d", n, tt.want)
			}
		})
	}
}

func TestForward(t *testing.T) {
	l := listen(t)
	f := Forward(l, echo(t))
	conn := dial(t, l.Addr().String())
	wantEcho(t, conn, bufio.NewReader(conn), f.Close)
	if n := f.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
