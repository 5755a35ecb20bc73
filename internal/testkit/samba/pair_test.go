package samba

import (
	"testing"
	"time"
)

func TestX(t *testing.T) {
	st := time.Now()
	p, err := StartPair(t.Context(), Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	t.Log(time.Since(st))
	for range 4 {
		st := time.Now()
		if err := p.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(st))
	}
	t.Log(p.DC1.URL, p.DC2.URL)
}
