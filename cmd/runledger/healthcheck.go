package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthcheckCommand() *cobra.Command {
	var address string
	var live bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running server whether it is ready",
		Long: `Healthcheck asks the server on this machine for /readyz and exits with 0 if it is
ready, 1 if not. It is made for containers, which have no shell and no curl. With --live
it asks for /livez, which is right where a server that is not healthy gets killed: one
that waits for its database is not ready, and lives.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readConfig(a.environ)
			if err != nil {
				return err
			}
			if address == "" {
				address = "http://" + loopback(c.Addr)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			path := "/readyz?verbose"
			if live {
				path = "/livez"
			}
			return checkReady(ctx, strings.TrimSuffix(address, "/")+path)
		},
	}
	cmd.Flags().StringVar(&address, "url", "", "the server's address (http:// and the port of RUNLEDGER_ADDR on loopback)")
	cmd.Flags().BoolVar(&live, "live", false, "ask whether it lives, ready or not")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return cmd
}

// loopback is where a server that listens on addr can be reached from the same machine.
func loopback(addr string) string {
	host, port, _ := net.SplitHostPort(addr) // checked when the configuration was read
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func checkReady(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return usageError{err}
	}
	if req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return usageError{errors.New("--url wants an address such as http://127.0.0.1:8080")}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	const longest = 4 << 10
	body, _ := io.ReadAll(io.LimitReader(resp.Body, longest))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready (%s):\n%s", resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
