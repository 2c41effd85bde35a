package agent

import (
	"errors"
	"fmt"

	"github.com/hanok-cloud/hanok/internal/nodeapi"
)

// finalError is an error that repeating the step cannot heal.
type finalError struct {
	message string
	hint    string
	cause   error
}

func (e *finalError) Error() string { return e.message }
func (e *finalError) Unwrap() error { return e.cause }

// Final makes an error that is not retried: the guest keeps it as its fault until its item changes. Message is one line
// that says what happened, to what and why; hint says what to do. %w in the format keeps the cause.
func Final(hint, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &finalError{message: err.Error(), hint: hint, cause: errors.Unwrap(err)}
}

// IsFinal says whether err was made by Final.
func IsFinal(err error) bool {
	var f *finalError
	return errors.As(err, &f)
}

// stepFault is what the controller is told of an error in a step.
func stepFault(step string, err error) *nodeapi.Fault {
	f := &nodeapi.Fault{Step: step, Message: err.Error(), Retryable: true}
	var final *finalError
	if errors.As(err, &final) {
		f.Retryable = false
		f.Hint = final.hint
	}
	return f
}
