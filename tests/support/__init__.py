"""What the tests share: tiny models, fake devices, reference layouts."""
