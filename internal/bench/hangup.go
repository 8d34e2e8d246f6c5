package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// drain reads a body to its end, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// hangUp asks n times with so many clients, each of which hangs up within two milliseconds.
func (c *contender) hangUp(ctx context.Context, clients, n int) {
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for range n / clients {
				patience := time.Duration(rand.IntN(2000)) * time.Microsecond
				impatient, stop := context.WithTimeout(ctx, patience)
				if resp, err := c.ask(impatient, c.path); err == nil {
					drain(resp)
				}
				stop()
			}
		})
	}
	group.Wait()
}
