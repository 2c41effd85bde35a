package db

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Micros is a time as it is stored.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Time is a stored time.
func Time(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// JSON stores a value as JSON text. A NULL or empty column reads as the zero value.
type JSON[T any] struct{ V T }

// Value encodes for the database.
func (j JSON[T]) Value() (driver.Value, error) {
	b, err := json.Marshal(j.V)
	return string(b), err
}

// Scan decodes from the database.
func (j *JSON[T]) Scan(src any) error {
	var zero T
	j.V = zero
	switch s := src.(type) {
	case nil:
		return nil
	case string:
		if s == "" {
			return nil
		}
		return json.Unmarshal([]byte(s), &j.V)
	case []byte:
		if len(s) == 0 {
			return nil
		}
		return json.Unmarshal(s, &j.V)
	}
	return fmt.Errorf("cannot read %T as JSON text", src)
}
