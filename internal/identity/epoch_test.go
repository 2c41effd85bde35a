package identity

import (
	"context"
	"runtime"
	"testing"
)

// Who asks while a reading is under way gets the next one: what that one had seen may be older than the question.
func TestFlights(t *testing.T) {
	var g flights
	started, answer := make(chan struct{}), make(chan int64)
	read := func(context.Context) (int64, error) {
		started <- struct{}{}
		return <-answer, nil
	}
	got := make(chan int64)
	ask := func() {
		v, err := g.join(context.Background(), read)
		if err != nil {
			t.Error(err)
		}
		got <- v
	}
	go ask()
	<-started
	go ask()
	for waiting := false; !waiting; runtime.Gosched() {
		g.mu.Lock()
		waiting = g.next != nil
		g.mu.Unlock()
	}
	go ask() // the second leads, the third joins it or, coming late, leads another
	answer <- 1
	if v := <-got; v != 1 {
		t.Fatal("the first got", v)
	}
	<-started
	answer <- 2
	if v := <-got; v < 2 {
		t.Fatal("the second got", v)
	}
	select {
	case v := <-got:
		if v < 2 {
			t.Fatal("the third got", v)
		}
	case <-started:
		answer <- 3
		if v := <-got; v != 3 {
			t.Fatal("the third got", v)
		}
	}
}
