// Package fault is the error that reaches a client: an HTTP status, the service's own class for it, a message for the
// client and a cause for the log. It must not know how a service writes it on the wire; that is the dialect's work (package api).
package fault

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is a refusal or a failure with its answer.
type Error struct {
	Status int
	// Code is the service's class where its wire format has one: neutron's exception name ("NetworkNotFound"),
	// placement's error code ("placement.concurrent_update"), nova's fault name when it is not the status's usual one.
	Code    string
	Message string
	Detail  string // neutron's detail; empty elsewhere
	Header  http.Header
	Cause   error // for the log only
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Cause)
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// New makes an error with a status, a class and a message.
func New(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// BadRequest is 400 without a class. So are the others below with their status.
func BadRequest(format string, args ...any) *Error {
	return New(http.StatusBadRequest, "", format, args...)
}

// Unauthorized is 401.
func Unauthorized(format string, args ...any) *Error {
	return New(http.StatusUnauthorized, "", format, args...)
}

// Forbidden is 403.
func Forbidden(format string, args ...any) *Error {
	return New(http.StatusForbidden, "", format, args...)
}

// NotFound is 404.
func NotFound(format string, args ...any) *Error {
	return New(http.StatusNotFound, "", format, args...)
}

// Conflict is 409.
func Conflict(format string, args ...any) *Error {
	return New(http.StatusConflict, "", format, args...)
}

// Because adds the cause and returns the same error.
func (e *Error) Because(cause error) *Error {
	e.Cause = cause
	return e
}

// As finds the Error in err; an error without one is a 500 whose text stays in the log.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Message: "Internal Server Error", Cause: err}
}

// Is tells whether err is an Error with that status.
func Is(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}
