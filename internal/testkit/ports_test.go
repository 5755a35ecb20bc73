package testkit

import (
	"fmt"
	"net"
	"slices"
	"testing"
)

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if different := slices.Compact(slices.Clone(ports)); len(different) != 50 || ports[0] < firstPort || ports[49] >= lastPort {
		t.Errorf("ports %v", ports)
	}
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
		if claim(port) {
			t.Errorf("port %d is given out twice", port)
		}
	}
}
