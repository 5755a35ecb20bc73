package obs

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// NewRegistry returns a registry with the metrics that every program has.
func NewRegistry(program string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		NewGauge("writeback_build_info", "Always 1; which program this is, in which version.",
			func(tell Tell) { tell(1, program, BuildVersion()) }, "program", "version"))
	return reg
}

// checkTimeout bounds the checks of one call, so that a probe is answered.
const checkTimeout = 2 * time.Second

// Handler serves the operations listener: /healthz says that the process is
// alive, /readyz whether every check holds and which do not, /metrics what it
// counted.
func Handler(reg *prometheus.Registry, checks ...Check) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, http.StatusOK, map[string]string{"process": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		status, results := http.StatusOK, make(map[string]string)
		for _, c := range checks {
			results[c.Name] = "ok"
			if err := c.Run(ctx); err != nil {
				results[c.Name] = err.Error()
				if !c.Advisory {
					status = http.StatusServiceUnavailable
				}
			}
		}
		writeHealth(w, status, results)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	return mux
}

func writeHealth(w http.ResponseWriter, status int, results map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(results)
}

// Limits of every HTTP listener, against callers that are slow on purpose.
const (
	readTimeout    = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// Serve serves handler on listener until ctx ends, then lets requests in hand
// finish for at most drain. write bounds how long one answer may take. What the
// server itself has to say goes to l, see [newServerLog].
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, write, drain time.Duration, l zerolog.Logger) error {
	server := &http.Server{
		ErrorLog:          newServerLog(l),
		Handler:           handler,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      write,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
