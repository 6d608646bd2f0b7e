/*
 * The guest of the escape drill: carries bytes between the serial port, where the test is, and the
 * drill's port (escape.h).
 */
#include "tests/guest/tiny.h"

#define COM1  0x3f8
#define DRILL 0xe4
#define WAIT  0xff /* the main thread is still at it */

static void put_char(uint8_t c)
{
	while (!(in8(COM1 + 5) & 0x20))
		;
	out8(COM1, c);
}

void tiny_main(uint32_t eax, uint32_t ebx);

void tiny_main(uint32_t eax, uint32_t ebx)
{
	out8(COM1 + 3, 3);
	put_char('>');
	put_char('\n');
	for (;;) {
		uint8_t c;

		while (!(in8(COM1 + 5) & 1))
			;
		c = in8(COM1);
		out8(DRILL, c);
		while (c == '\n' && (c = in8(DRILL))) {
			if (c != WAIT)
				put_char(c);
			c = '\n';
		}
	}
}
