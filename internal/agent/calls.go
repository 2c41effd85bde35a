package agent

import (
	"bytes"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// call answers a call beside everything else; the answer goes with a report.
func (a *Agent) call(c nodeapi.Call) {
	ctx := a.ctx
	a.workers.Go(func() {
		res := nodeapi.CallResult{ID: c.ID}
		var err error
		switch c.Method {
		case nodeapi.MethodConsoleLog:
			res.Data, err = a.o.Guests.ConsoleLog(ctx, c.GuestID, c.Lines)
		case nodeapi.MethodPassword:
			res.Data, err = a.o.Network.Password(c.GuestID)
		case nodeapi.MethodClearPassword:
			err = a.o.Network.ClearPassword(c.GuestID)
		default:
			err = fmt.Errorf("this agent does not know the call %q", c.Method)
		}
		if err != nil {
			res.Error = err.Error()
			a.o.Logger.Warn("call failed", "request_id", c.RequestID, "guest", c.GuestID, "method", c.Method, "error", err)
		}
		a.reports.result(res)
	})
}

// TailLines keeps the last n lines as upstream counts them: what follows the last line break is a line, even when it is
// empty (_tail_log in nova/compute/manager.py). All lines when n is 0.
func TailLines(text []byte, n int) []byte {
	if n <= 0 {
		return text
	}
	at := len(text)
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return text[at+1:]
}
