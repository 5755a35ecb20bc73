package testkit

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Archives lists the Debian archives that this machine's own apt uses.
func Archives(ctx context.Context) ([]string, error) {
	unlock, err := lockApt(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, update := range []bool{false, true} {
		if update { // a machine that never did knows no origins
			if out, err := exec.CommandContext(ctx, "apt-get", "update", "-qq").CombinedOutput(); err != nil {
				return nil, fmt.Errorf("updating apt's lists: %w: %s", err, out)
			}
		}
		out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
			"--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages").Output()
		if err != nil {
			return nil, fmt.Errorf("asking apt for its archives: %w", err)
		}
		if list := parseArchives(string(out)); len(list) > 0 {
			return list, nil
		}
	}
	return nil, errors.New("apt on this machine uses no Debian archive (Origin and Label Debian): add one, or use compose.yaml")
}

// parseArchives picks Debian itself, not its security archive and not third
// parties, from lines of origin|label|address.
func parseArchives(targets string) []string {
	var list []string
	for line := range strings.Lines(targets) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) == 3 && f[0] == "Debian" && f[1] == "Debian" && !slices.Contains(list, f[2]) {
			list = append(list, f[2])
		}
	}
	return list
}
