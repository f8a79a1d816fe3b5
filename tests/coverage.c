/*
 * Linked in by --enable-coverage alone: what ends by _exit() or raise() leaves
 * its counters behind, too.  The linker's --wrap puts these in their place.
 */
#include "config.h"

void __gcov_dump(void);
void __gcov_reset(void);

void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
int __real_raise(int number);
int __wrap_raise(int number);

static void leave_counters(void)
{
	__gcov_dump();
	__gcov_reset();
}

void __wrap__exit(int status)
{
	leave_counters();
	__real__exit(status);
}

int __wrap_raise(int number)
{
	leave_counters();
	return __real_raise(number);
}
