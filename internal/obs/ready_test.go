package obs

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAskReady(t *testing.T) {
	var broker error
	server := httptest.NewServer(Handler(NewRegistry("publisher"), Check{Name: "broker", Run: func(context.Context) error { return broker }}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")

	if err := AskReady(t.Context(), addr); err != nil {
		t.Errorf("of one that is ready it says %v", err)
	}
	broker = errors.New("the broker is away")
	if err := AskReady(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "the broker is away") {
		t.Errorf("of one that is not ready it says %v", err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, nobody := range []string{closed.Addr().String(), "", "no address"} {
		if err := AskReady(t.Context(), nobody); err == nil {
			t.Errorf("at %q, where nobody is, it finds a program that is ready", nobody)
		}
	}
}
