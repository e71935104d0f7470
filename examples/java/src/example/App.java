package example;

import java.util.logging.Level;
import java.util.logging.Logger;

/** Says which processor its runtime is for. */
public final class App {
    private static final Logger LOG = Logger.getLogger(App.class.getName());

    private App() {}

    public static void main(String[] arguments) {
        if (arguments.length > 1) {
            LOG.log(Level.SEVERE, "usage: app [NAME]");
            System.exit(2);
        }
        String name = arguments.length == 1 ? arguments[0] : "world";
        System.out.println("hello " + name + " from Java on " + System.getProperty("os.arch"));
    }
}
