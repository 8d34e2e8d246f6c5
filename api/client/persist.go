package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// The pauses between tries, a random part of which is waited: the first, and the longest.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

// persist tries until there is a run, the answer is one that another try would not change, or ctx
// is done. The error is then that of the last try. No try has more than a part of the time that is left:
// where a server is gone without a word, a connection to it swallows what is sent.
func persist(ctx context.Context, try func(ctx context.Context) (*Run, *http.Response, []byte, error)) (*Run, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		once, stop := context.WithTimeout(ctx, triedFor(ctx))
		run, response, body, err := try(once)
		late := once.Err() != nil && ctx.Err() == nil
		stop()
		if err == nil && run != nil {
			return run, nil
		}
		if err == nil {
			err = errorOf(response, body)
		}
		if !late && !passes(response, err) {
			return nil, err
		}
		// Half of the pause is random, so that those who failed together do not return together.
		wait := pause/2 + rand.N(pause/2) //nolint:gosec // it only has to differ
		timer := time.NewTimer(max(wait, retryAfter(response)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(err, context.Cause(ctx))
		case <-timer.C:
		}
	}
}

// triedFor is how long one try may take: a quarter of what is left until the deadline of ctx, and not so long that
// nobody would wait for an answer, nor so short that there could be none.
func triedFor(ctx context.Context) time.Duration {
	const shortest, longest, part = time.Second, 20 * time.Second, 4
	deadline, ok := ctx.Deadline()
	if !ok {
		return longest
	}
	return min(max(time.Until(deadline)/part, shortest), longest)
}

// lostError is for want of an answer to a request that was sent, or of a part of it: the service may
// have done what it was asked to.
type lostError struct{ error }

// Unwrap is what went wrong.
func (e lostError) Unwrap() error { return e.error }

// sending asks, and marks as lost what goes wrong once the request is on its way. Before that there
// is a request that cannot be made, a token that cannot be had or an editor that refuses, whatever
// the error of that is; sent, which is to be the last editor, is called behind all of these.
func sending[Answer any](ask func(sent RequestEditorFn) (*Answer, error)) (*Answer, error) {
	left := false
	answer, err := ask(func(context.Context, *http.Request) error {
		left = true
		return nil
	})
	if err != nil && left {
		return nil, lostError{err}
	}
	return answer, err
}

// passes tells whether an answer, or its want, is for a reason that passes by itself.
func passes(response *http.Response, err error) bool {
	if response == nil {
		_, lost := errors.AsType[lostError](err)
		return lost
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// retryAfter is how long an answer asks to wait, 0 if it does not say (RFC 9110, section 10.2.3).
func retryAfter(response *http.Response) time.Duration {
	if response == nil {
		return 0
	}
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return time.Until(at)
	}
	return 0
}
