package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"writeback/internal/obs"
)

func TestHealth(t *testing.T) {
	var away error
	server := httptest.NewServer(obs.Handler(obs.NewRegistry("prog"),
		obs.Check{Name: "broker", Run: func(context.Context) error { return away }}))
	defer server.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	broken := errors.New("there is no key \"listne\" here")
	health := Health("prog", func(path string) (string, error) {
		switch path {
		case "here.yaml":
			return server.Listener.Addr().String(), nil
		case "prog.yaml":
			return closed.Addr().String(), nil
		}
		return "", broken
	})
	for _, tt := range []struct {
		name string
		args string
		away error
		want string // in the error; empty for none
	}{
		{"ready", "-config here.yaml", nil, ""},
		{"not ready", "-config here.yaml", errors.New("not connected"), `"broker":"not connected"`},
		{"not there", "", nil, "asking whether it is ready"},
		{"broken configuration", "-config broken.yaml", nil, broken.Error()},
		{"an argument too many", "now", nil, "unexpected argument"},
	} {
		away = tt.away
		err := health.Run(t.Context(), strings.Fields(tt.args), Streams{Out: io.Discard, Err: io.Discard})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if _, isUsage := errors.AsType[usageError](err); isUsage != (tt.args == "now" || strings.Contains(tt.args, "broken")) {
			t.Errorf("%s: it is the fault of the command line: %t", tt.name, isUsage)
		}
	}
}
