package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// askTimeout is longer than the checks of one call may take.
const askTimeout = checkTimeout + 2*time.Second

// AskReady asks the program on this machine whose operations listener is at addr
// whether it is ready, and returns what it says if it is not. An address such as
// 0.0.0.0 stands for this machine.
func AskReady(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
	if err != nil {
		return errors.New("operations_listen: is no address")
	}
	// No proxy of the environment: it is on this machine.
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return fmt.Errorf("asking whether it is ready: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("it is not ready: %s", strings.TrimSpace(string(said)))
	}
	return nil
}
