/* Registers of the PC16550D by the data sheet's names (§8). */
#ifndef DEVEMU_UART_REGS_H
#define DEVEMU_UART_REGS_H

#define UART_RBR 0u /* read */
#define UART_THR 0u /* write */
#define UART_DLL 0u /* DLAB */
#define UART_IER 1u
#define UART_DLM 1u /* DLAB */
#define UART_IIR 2u /* read */
#define UART_FCR 2u /* write */
#define UART_LCR 3u
#define UART_MCR 4u
#define UART_LSR 5u
#define UART_MSR 6u
#define UART_SCR 7u
#define UART_REGS 8u

#define IER_ERBFI 0x01u
#define IER_ETBEI 0x02u
#define IER_ELSI  0x04u
#define IER_EDSSI 0x08u

#define IIR_NONE	0x01u
#define IIR_MODEM	0x00u
#define IIR_THRE	0x02u
#define IIR_DATA	0x04u
#define IIR_LINE	0x06u
#define IIR_TIMEOUT	0x0cu
#define IIR_FIFO	0xc0u

#define FCR_ENABLE	0x01u
#define FCR_CLEAR_RX	0x02u
#define FCR_CLEAR_TX	0x04u
#define FCR_TRIGGER	0xc0u

#define LCR_BREAK 0x40u
#define LCR_DLAB  0x80u

#define MCR_DTR	 0x01u
#define MCR_RTS	 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define MCR_BITS 0x1fu

#define LSR_DR	 0x01u
#define LSR_OE	 0x02u
#define LSR_PE	 0x04u
#define LSR_FE	 0x08u
#define LSR_BI	 0x10u
#define LSR_THRE 0x20u
#define LSR_TEMT 0x40u
#define LSR_FIFO 0x80u
#define LSR_LINE (LSR_OE | LSR_PE | LSR_FE | LSR_BI)

#define MSR_DCTS 0x01u
#define MSR_DDSR 0x02u
#define MSR_TERI 0x04u
#define MSR_DDCD 0x08u
#define MSR_CTS	 0x10u
#define MSR_DSR	 0x20u
#define MSR_RI	 0x40u
#define MSR_DCD	 0x80u
#define MSR_DELTAS 0x0fu

#endif
